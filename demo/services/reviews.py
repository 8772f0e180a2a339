# SPDX-License-Identifier: Apache-2.0
"""What readers say. v1 says it without stars; v2 and v3 ask ratings for them, and show them in black and in red."""
from common import NAME, VERSION, call, caller, serve

TEXTS = {"Reviewer1": "An extremely entertaining play. The slapstick humour is refreshing!",
         "Reviewer2": "Absolutely fun and entertaining. The play lacks thematic depth when compared to others."}
COLOR = {"v2": "black", "v3": "red"}.get(VERSION)


def reviews(headers):
    status, ratings = call("http://ratings:9080/ratings", headers) if COLOR else (None, None)
    stars = ratings["stars"] if status == 200 else {}
    return {"service": NAME, "version": VERSION, "caller": caller(headers), "color": COLOR, "ratings_status": status, "ratings": ratings,
            "reviews": [{"reviewer": who, "text": text, "stars": stars.get(who)} for who, text in TEXTS.items()]}


serve({"/reviews": reviews})
