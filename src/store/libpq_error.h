/* libpq's messages, which have several lines, as one. */
#ifndef STORE_LIBPQ_ERROR_H
#define STORE_LIBPQ_ERROR_H

#include "base/error.h"

/* Always returns false, like error_set. */
bool libpq_error(struct error *err, const char *message);

#endif
