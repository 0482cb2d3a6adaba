"""The demo's application: an order-processing schema, its writer, its questions, and what must always be true of it.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from decimal import Decimal
from pathlib import Path

import pymysql

CUSTOMERS, PRODUCTS, FIRST_ORDERS = 2000, 400, 4000
ON_HAND = 100000
COUNTRIES = ("AT", "BR", "CA", "DE", "ES", "FR", "GB", "IN", "JP", "KE", "MX", "US")
CATEGORIES = ("books", "food", "garden", "music", "tools", "toys")
METHODS = ("card", "invoice", "transfer")

SCHEMA = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.customers (id INT PRIMARY KEY, name VARCHAR(60) NOT NULL, country CHAR(2) NOT NULL,"
    " orders INT NOT NULL, paid DECIMAL(14,2) NOT NULL, since DATE NOT NULL)",
    "CREATE TABLE shop.stock (product_id INT PRIMARY KEY, name VARCHAR(60) NOT NULL, category VARCHAR(20) NOT NULL,"
    " price DECIMAL(10,2) NOT NULL, on_hand BIGINT NOT NULL, sold BIGINT NOT NULL, restocked BIGINT NOT NULL)",
    "CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer_id INT NOT NULL, status VARCHAR(10) NOT NULL,"
    " total DECIMAL(14,2) NOT NULL, line_count INT NOT NULL, placed TIMESTAMP(6) NOT NULL)",
    "CREATE TABLE shop.order_lines (order_id BIGINT, line_no INT, product_id INT NOT NULL, quantity INT NOT NULL,"
    " amount DECIMAL(14,2) NOT NULL, PRIMARY KEY (order_id, line_no))",
    "CREATE TABLE shop.payments (id BIGINT AUTO_INCREMENT PRIMARY KEY, order_id BIGINT NOT NULL, method VARCHAR(10) NOT NULL,"
    " amount DECIMAL(14,2) NOT NULL, paid_at TIMESTAMP(6) NOT NULL)",
    "CREATE TABLE shop.pulse (id INT PRIMARY KEY, beat BIGINT NOT NULL)",
    "INSERT INTO shop.pulse VALUES (1, 0)",
)

# The same text runs in TiDB (prefix "shop.") and in Spark (prefix "magic.shop."): {0}.
QUERIES = {
    "revenue by country": """
        SELECT c.country, count(*) AS orders, sum(o.total) AS revenue
        FROM {0}orders o JOIN {0}customers c ON c.id = o.customer_id
        GROUP BY c.country ORDER BY c.country""",
    "best products": """
        SELECT s.product_id, s.name, sum(l.quantity) AS pieces, sum(l.amount) AS revenue
        FROM {0}order_lines l JOIN {0}stock s ON s.product_id = l.product_id
        GROUP BY s.product_id, s.name ORDER BY pieces DESC, s.product_id LIMIT 10""",
    "payments by method": """
        SELECT p.method, o.status, count(*) AS payments, sum(p.amount) AS amount
        FROM {0}payments p JOIN {0}orders o ON o.id = p.order_id
        GROUP BY p.method, o.status ORDER BY p.method, o.status""",
    "owed by customer": """
        SELECT c.id, c.name, sum(o.total) AS owed
        FROM {0}customers c JOIN {0}orders o ON o.customer_id = c.id
        WHERE o.status = 'open' AND NOT EXISTS (SELECT 1 FROM {0}payments p WHERE p.order_id = o.id)
        GROUP BY c.id, c.name ORDER BY owed DESC, c.id LIMIT 10""",
    "categories by country": """
        SELECT c.country, s.category, count(DISTINCT o.id) AS orders, sum(l.amount) AS revenue
        FROM {0}orders o JOIN {0}order_lines l ON l.order_id = o.id
        JOIN {0}stock s ON s.product_id = l.product_id JOIN {0}customers c ON c.id = o.customer_id
        GROUP BY c.country, s.category ORDER BY c.country, s.category""",
}

# Each is 0 whenever whole transactions are seen, and only then for sure.
INVARIANTS = {
    "orders add up to their lines": "SELECT (SELECT sum(total) FROM {0}orders) - (SELECT sum(amount) FROM {0}order_lines)",
    "orders know their lines": "SELECT (SELECT sum(line_count) FROM {0}orders) - (SELECT count(*) FROM {0}order_lines)",
    "stock knows what was sold": "SELECT (SELECT sum(sold) FROM {0}stock) - (SELECT sum(quantity) FROM {0}order_lines)",
    "nothing is lost in stock": f"SELECT sum(on_hand + sold - restocked) - {ON_HAND * PRODUCTS} FROM {{0}}stock",
    "customers know their orders": "SELECT (SELECT sum(orders) FROM {0}customers) - (SELECT count(*) FROM {0}orders)",
    "customers know their payments": "SELECT (SELECT sum(paid) FROM {0}customers) - (SELECT sum(amount) FROM {0}payments)",
    "paid orders have a payment": "SELECT (SELECT count(*) FROM {0}orders WHERE status = 'paid')"
    " - (SELECT count(*) FROM {0}payments)",
}


def invariants_sql(prefix):
    """All of them as columns of one row: one statement, one snapshot."""
    return "SELECT " + ", ".join(
        f"({text.format(prefix)}) AS {name.replace(' ', '_')}" for name, text in INVARIANTS.items()
    )


def price(product):
    return Decimal(199 + product * 37 % 9000) / 100


def country(customer):
    return COUNTRIES[customer * 7 % len(COUNTRIES)]


def create(tidb):
    """Schema, customers and stock; then the first orders, through the writer's own transactions."""
    tidb.run(*SCHEMA)
    customers = ",".join(
        f"({number},'customer {number}','{country(number)}',0,0,'20{10 + number % 15}-0{1 + number % 9}-15')"
        for number in range(CUSTOMERS)
    )
    stock = ",".join(
        f"({number},'product {number}','{CATEGORIES[number % len(CATEGORIES)]}',{price(number)},{ON_HAND},0,0)"
        for number in range(PRODUCTS)
    )
    tidb.run(f"INSERT INTO shop.customers VALUES {customers}", f"INSERT INTO shop.stock VALUES {stock}")


class Clerk(threading.Thread):
    """One connection; each transaction changes several tables."""

    def __init__(self, number, port, stop):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.port = port
        self.stop = stop
        self.open = deque(maxlen=500)
        self.transactions = 0
        self.changes = 0

    def place(self, cursor):
        customer = self.random.randrange(CUSTOMERS)
        products = sorted(self.random.sample(range(PRODUCTS), self.random.randrange(1, 5)))
        lines = [(product, self.random.randrange(1, 6)) for product in products]
        total = sum(price(product) * quantity for product, quantity in lines)
        cursor.execute(
            "INSERT INTO shop.orders (customer_id, status, total, line_count, placed) VALUES (%s, 'open', %s, %s, now(6))",
            (customer, total, len(lines)),
        )
        order = cursor.lastrowid
        rows = ",".join(
            f"({order},{place},{product},{quantity},{price(product) * quantity})"
            for place, (product, quantity) in enumerate(lines)
        )
        cursor.execute(f"INSERT INTO shop.order_lines VALUES {rows}")
        for product, quantity in lines:
            cursor.execute(
                f"UPDATE shop.stock SET on_hand = on_hand - {quantity}, sold = sold + {quantity} WHERE product_id = {product}"
            )
        cursor.execute(f"UPDATE shop.customers SET orders = orders + 1 WHERE id = {customer}")
        return 2 + 2 * len(lines), lambda: self.open.append((order, customer, total, lines))

    def pay(self, cursor):
        order, customer, total, _ = self.open.popleft()
        cursor.execute(f"UPDATE shop.orders SET status = 'paid' WHERE id = {order}")
        cursor.execute(
            f"INSERT INTO shop.payments (order_id, method, amount, paid_at) VALUES ({order}, '{self.random.choice(METHODS)}',"
            f" {total}, now(6))"
        )
        cursor.execute(f"UPDATE shop.customers SET paid = paid + {total} WHERE id = {customer}")
        return 3, None

    def cancel(self, cursor):
        order, customer, _, lines = self.open.popleft()
        cursor.execute(f"DELETE FROM shop.order_lines WHERE order_id = {order}")
        cursor.execute(f"DELETE FROM shop.orders WHERE id = {order}")
        for product, quantity in lines:
            cursor.execute(
                f"UPDATE shop.stock SET on_hand = on_hand + {quantity}, sold = sold - {quantity} WHERE product_id = {product}"
            )
        cursor.execute(f"UPDATE shop.customers SET orders = orders - 1 WHERE id = {customer}")
        return 2 + 2 * len(lines), None

    def restock(self, cursor):
        for product in sorted(self.random.sample(range(PRODUCTS), 5)):
            cursor.execute(f"UPDATE shop.stock SET on_hand = on_hand + 50, restocked = restocked + 50 WHERE product_id = {product}")
        return 5, None

    def step(self, cursor):
        chance = self.random.random()
        if chance < 0.05:
            return self.restock(cursor)
        if len(self.open) > 5 and chance < 0.40:
            return self.pay(cursor)
        if len(self.open) > 5 and chance < 0.45:
            return self.cancel(cursor)
        return self.place(cursor)

    def run(self):
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root")
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            while not self.stop.is_set():
                kept = list(self.open)
                try:
                    changes, after = self.step(cursor)
                    connection.commit()
                except pymysql.err.MySQLError as failure:
                    if failure.args[0] not in (1205, 1213, 8002, 9007):  # lock wait, deadlock, write conflicts
                        raise
                    connection.rollback()
                    self.open = deque(kept, maxlen=500)
                    continue
                if after:
                    after()
                self.transactions += 1
                self.changes += changes


def main():
    """The writer: several connections until it is ended; the report is a JSON object that is replaced all the time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--transactions", type=int, default=0, help="end after so many; 0 = never")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clerks = [Clerk(number, options.port, stop) for number in range(options.connections)]
    for clerk in clerks:
        clerk.start()
    while not stop.is_set():
        if not all(clerk.is_alive() for clerk in clerks):
            sys.exit("a connection of the writer has ended")
        done = {"transactions": sum(one.transactions for one in clerks), "changes": sum(one.changes for one in clerks)}
        new = options.report.with_suffix(".new")
        new.write_text(json.dumps(done), encoding="utf-8")
        os.replace(new, options.report)
        if options.transactions and done["transactions"] >= options.transactions:
            stop.set()
        time.sleep(0.1)
    for clerk in clerks:
        clerk.join(10)


if __name__ == "__main__":
    main()
