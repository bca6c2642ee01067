# SPDX-License-Identifier: Apache-2.0
"""What can be done to a port mapper by those who may connect to it, and a client beside them that only wants its answers."""
