/* SPDX-License-Identifier: MIT */
/* The public header in a C++ program: no word of C++ is a name there, and the initialisers work. */
#include "client/shmbroker.h"

int main()
{
	struct shmb_connect_options connect = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_create_options create = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_open_options open = SHMB_OPEN_OPTIONS_INIT;
	int (*function)(const struct shmb_connect_options *, struct shmb_conn **, struct shmb_error *) = shmb_connect;

	return function == nullptr || connect.size + create.size + open.size == 0;
}
