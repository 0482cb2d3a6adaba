// SPDX-License-Identifier: Apache-2.0

// pumpcap is a Pump that TiDB can write its binlog to: it answers WriteBinlog and appends every payload to a file,
// as a 32 bit big-endian length and the payload. It can also be slow, or refuse, to see how TiDB takes that.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pingcap/tipb/go-binlog"
	"google.golang.org/grpc"
)

type pump struct {
	mu     sync.Mutex
	out    *os.File
	delay  time.Duration
	sync   bool
	refuse string
	talk   bool
}

func (p *pump) WriteBinlog(_ context.Context, req *binlog.WriteBinlogReq) (*binlog.WriteBinlogResp, error) {
	if p.delay > 0 {
		time.Sleep(p.delay)
	}
	if p.refuse != "" {
		return &binlog.WriteBinlogResp{Errmsg: p.refuse}, errors.New(p.refuse)
	}
	if len(req.Payload) == 0 { // a probe: answered, never kept
		if p.talk {
			fmt.Println("probe")
		}
		return &binlog.WriteBinlogResp{}, nil
	}
	rec := make([]byte, 4+len(req.Payload))
	binary.BigEndian.PutUint32(rec, uint32(len(req.Payload)))
	copy(rec[4:], req.Payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.out.Write(rec); err != nil {
		return nil, err
	}
	if p.sync {
		if err := p.out.Sync(); err != nil {
			return nil, err
		}
	}
	if p.talk {
		show(req)
	}
	return &binlog.WriteBinlogResp{}, nil
}

func (p *pump) PullBinlogs(*binlog.PullBinlogReq, binlog.Pump_PullBinlogsServer) error { return nil }

func show(req *binlog.WriteBinlogReq) {
	var b binlog.Binlog
	if err := b.Unmarshal(req.Payload); err != nil {
		fmt.Println("cannot parse:", err)
		return
	}
	fmt.Printf("%s %v start %d commit %d", time.Now().Format("15:04:05.000"), b.Tp, b.StartTs, b.CommitTs)
	if b.DdlJobId != 0 {
		fmt.Printf(" job %d state %d ddl %q", b.DdlJobId, b.DdlSchemaState, b.DdlQuery)
	}
	var v binlog.PrewriteValue
	if len(b.PrewriteValue) > 0 && v.Unmarshal(b.PrewriteValue) == nil {
		fmt.Printf(" schema %d", v.SchemaVersion)
		for _, m := range v.Mutations {
			fmt.Printf(" table %d +%d ~%d -%d", m.TableId, len(m.InsertedRows), len(m.UpdatedRows), len(m.DeletedRows))
		}
	}
	fmt.Println()
}

func main() {
	sock := flag.String("sock", "", "unix socket, or HOST:PORT, to serve on")
	file := flag.String("out", "", "file to append to")
	p := &pump{}
	flag.DurationVar(&p.delay, "delay", 0, "wait this long before every answer")
	flag.BoolVar(&p.sync, "sync", false, "fsync before every answer")
	flag.StringVar(&p.refuse, "refuse", "", "refuse every write with this text")
	flag.BoolVar(&p.talk, "v", false, "print a line per record")
	flag.Parse()
	network := "unix"
	if strings.Contains(*sock, ":") {
		network = "tcp"
	} else {
		os.Remove(*sock)
	}
	l, err := net.Listen(network, *sock)
	if err == nil {
		p.out, err = os.OpenFile(*file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 30)) // a payload may be much larger than gRPC's default of 4 MiB
	binlog.RegisterPumpServer(g, p)
	fmt.Fprintln(os.Stderr, g.Serve(l))
}
