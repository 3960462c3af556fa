"""The incident page: one `respond(request, job, now)` for the function app and for `incidents serve` alike."""
