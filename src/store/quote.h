/* Identifiers as they stand in SQL. */
#ifndef STORE_QUOTE_H
#define STORE_QUOTE_H

#include "base/buffer.h"

/* Appends an identifier in double quotes; a table's name may have a schema before its first '.'. */
void quote_identifier(struct buffer *out, const char *identifier);
void quote_table(struct buffer *out, const char *name);

#endif
