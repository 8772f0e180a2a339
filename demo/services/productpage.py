# SPDX-License-Identifier: Apache-2.0
"""The page that people see: details and reviews of one book, as HTML at /productpage and as JSON at /api."""
import html

from common import NAME, VERSION, call, caller, serve


def api(headers):
    details_status, details = call("http://details:9080/details", headers)
    reviews_status, reviews = call("http://reviews:9080/reviews", headers)
    return {"service": NAME, "version": VERSION, "caller": caller(headers), "details_status": details_status, "details": details,
            "reviews_status": reviews_status, "reviews": reviews}


def review_text(review, color):
    stars = f' <span style="color: {color}">{"★" * review["stars"]}</span>' if review["stars"] else ""
    return f"<blockquote>{html.escape(review['text'])}<br><small>{html.escape(review['reviewer'])}</small>{stars}</blockquote>"


def page(headers):
    known = api(headers)
    if known["details_status"] == 200:
        book = known["details"]["book"]
        title, facts = book["title"], "".join(f"<li>{html.escape(key)}: {html.escape(str(book[key]))}" for key in book)
    else:
        title, facts = "A book", f"<li>no details (status {known['details_status']})"
    if known["reviews_status"] == 200:
        said = known["reviews"]
        texts = "".join(review_text(review, said["color"]) for review in said["reviews"]) + f"<p>served by reviews {said['version']}"
        if said["ratings_status"] not in (None, 200):
            texts += f", without ratings (status {said['ratings_status']})"
    else:
        texts = f"<p>no reviews (status {known['reviews_status']})"
    return (f"<!doctype html><title>{html.escape(title)}</title><body style=\"font: 16px sans-serif; max-width: 40em; margin: 2em auto\">"
            f"<h1>{html.escape(title)}</h1><ul>{facts}</ul><h2>Reviews</h2>{texts}\n")


serve({"/productpage": page, "/api": api})
