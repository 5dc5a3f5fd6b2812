/* The words of status codes, more of them than evhttp knows. */
#ifndef HTTP_STATUS_H
#define HTTP_STATUS_H

/* "Not Found"; "Status" for a code that is not known. */
const char *status_phrase(int status);

#endif
