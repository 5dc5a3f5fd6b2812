/* Sends answers: JSON bodies, the headers that all of them carry, 304 for what the client has. */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include "base/bytes.h"
#include "http/guard.h"
#include "http/request.h"

/* Which origins may read answers: "*", a comma list, or "" for none. Borrowed. */
struct reply_policy {
    const char *cors_origins;
};

/* A 200 to GET or HEAD carries an ETag, and becomes 304 when the client has that already; 503 and
 * 429 carry Retry-After, 401 WWW-Authenticate. The ETag is made of `lasting`: the answer, or the
 * part of it that counts. Returns the status that was sent. */
int reply_json(struct client *client, const struct request *request,
               const struct reply_policy *policy, int status, struct bytes json,
               struct bytes lasting);
/* {"error": text} */
int reply_error(struct client *client, const struct request *request,
                const struct reply_policy *policy, int status, const char *text);
/* 405 with Allow. */
int reply_not_allowed(struct client *client, const struct request *request,
                      const struct reply_policy *policy, const char *allow);
/* 204 with Allow, and what a browser asks before a request from another origin. */
int reply_options(struct client *client, const struct request *request,
                  const struct reply_policy *policy, const char *allow);
/* 200 with a body of another type, for /metrics. */
int reply_text(struct client *client, const struct request *request, const char *content_type,
               struct bytes text);

#endif
