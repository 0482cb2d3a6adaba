// Keeps the program among the requirements of go.mod.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

package tools

import _ "github.com/pingcap/tidb/cmd/tidb-server"
