# SPDX-License-Identifier: Apache-2.0
"""What is known of the book."""
from common import NAME, VERSION, caller, serve

BOOK = {"title": "The Comedy of Errors", "author": "William Shakespeare", "year": 1595, "pages": 200, "language": "English"}


def details(headers):
    return {"service": NAME, "version": VERSION, "caller": caller(headers), "book": BOOK}


serve({"/details": details})
