/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: whatever a node, or somebody else on its port, answers to `rollcall check`. What has been judged is not
 * judged otherwise when more comes. */

#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "handshake.h"

static void check_peer(HandshakeAnswer answer, const HandshakePeer *peer) {
        assert(strnlen(peer->status, sizeof peer->status) < sizeof peer->status);
        if (answer != HANDSHAKE_CHALLENGE)
                return;
        assert(peer->n_name > 0 && peer->n_name <= HANDSHAKE_NAME_MAX);
        assert(strlen(peer->name) == peer->n_name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        HandshakePeer whole, part;
        HandshakeAnswer answer = handshake_read(data, size, &whole);

        check_peer(answer, &whole);
        (void)handshake_release(whole.flags);
        for (size_t n = 0; n < size && n < 64; n++) {
                HandshakeAnswer before = handshake_read(data, n, &part);

                check_peer(before, &part);
                assert(before == HANDSHAKE_MORE || before == answer);
        }
        return 0;
}
