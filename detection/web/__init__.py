"""The incident page, for the function app and for `incidents serve`: respond(request, job, now)."""
