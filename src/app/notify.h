/* Tells a service manager where the process stands, by systemd's protocol: datagrams to the socket
 * that NOTIFY_SOCKET names (man sd_notify). Does nothing where there is none. */
#ifndef APP_NOTIFY_H
#define APP_NOTIFY_H

/* Looks for the socket and takes NOTIFY_SOCKET out of the environment. Main thread, before others
 * are started. */
void notify_open(void);
void notify_close(void);

/* `state` is lines of NAME=value: "READY=1", "STOPPING=1", "STATUS=...". Never blocks; a manager
 * that does not listen is no reason to stop. */
void notify_send(const char *state);

#endif
