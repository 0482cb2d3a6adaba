"""What the end-to-end tests and the demo stand on: real programs in a temporary folder, on free ports of 127.0.0.1.

SPDX-License-Identifier: Apache-2.0
"""
