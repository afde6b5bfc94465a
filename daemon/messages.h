/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the journal knows messages by (MESSAGE_ID): their texts may change, these never do. Each has an entry in
 * systemd/shmbroker.catalog that says what happened, why, and what to do.
 */

/* How this broker began. */
#define MESSAGE_STARTED "15a310d879344be78d87a8de86efe1f3"	  /* with nothing to take over */
#define MESSAGE_TAKEN_OVER "2ab88bf8ed8c4a29a2518c75a5c84606"	  /* from one before it: everything */
#define MESSAGE_PARTLY_LOST "30dcc306b9114efaa7d4904dc53d6a81"	  /* some of it could not be */
#define MESSAGE_SET_ASIDE "79bb6fce46cf40aba4ee1c3172a6b55b"	  /* a state that is not tried again */
#define MESSAGE_NEWER_REGISTRY "9305c571f73843449704564f795315c2" /* that this build cannot read */

/* RECOVER */
#define MESSAGE_RECOVERED "e8ec5e791141461aa1389d81208d0771"
#define MESSAGE_DISCARDED "9c5ef1fb068f445ea25fa6630e2722e8"

/* The keeper. */
#define MESSAGE_KEEPER_LOST "82f0a601bb7a48a480c94998d84b924d"
#define MESSAGE_KEEPER_BACK "305fe43b001c4b22b6efca28a4553e6e" /* and it has everything */
#define MESSAGE_KEEPER_FULL "7aa99a91ff53463392ac7848df491ea0"

/* Clients and administrators. */
#define MESSAGE_VIOLATION "ed426f94333e41f9bbfa6edaa852c038"
#define MESSAGE_CONFIG_ERROR "5031c95c9bc34545836ffef323cf1468"
