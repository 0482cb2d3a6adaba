/* token.c -- proofs: lease tokens, and the MAC that tokens and tickets share.
 *
 * Token    version u8 = 1, flags u8 (bit 0: shared), then little endian store id u64, epoch u64, number u64, latest end
 *          i64 (unix ms), then 16 bytes of HMAC-SHA256 over the text "magic lease" and all bytes before.
 *          docs/format/ticket.md.
 * Why      a ticket's MAC covers its body alone. A body starts with a protobuf tag of field 1, a token's MAC input with
 *          'm': one can never be taken for the other.
 * Threads  pure functions on fields that are fixed once the latch is made.
 * SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "latch/latch_internal.h"

static const char token_context[] = "magic lease";
enum { TOKEN_VERSION = 1, TOKEN_SHARED = 1, CONTEXT_SIZE = sizeof token_context - 1 };
_Static_assert((int)MG_LATCH__TOKEN_SIZE <= (int)MG_LEASE_TOKEN_MAX, "a token fits into struct mg_lease");

void mg_latch_sign(const struct mg_latch *latch, struct mg_slice body, uint8_t out_mac[MG_MAC_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;

    static const uint8_t nothing[1];
    const uint8_t *made = HMAC(EVP_sha256(), latch->secret, MG_SECRET_SIZE, body.size ? body.data : nothing, body.size,
                               digest, &digest_size);
    mg_assert(made && digest_size >= MG_MAC_SIZE); /* fails only without memory for a few hundred bytes */
    memcpy(out_mac, digest, MG_MAC_SIZE);
}

bool mg_latch_verify(const struct mg_latch *latch, struct mg_slice body, struct mg_slice mac)
{
    uint8_t right[MG_MAC_SIZE];

    if (mac.size != MG_MAC_SIZE)
        return false;
    mg_latch_sign(latch, body, right);
    return CRYPTO_memcmp(right, mac.data, MG_MAC_SIZE) == 0;
}

static void token_mac(const struct mg_latch *latch, const uint8_t *token, uint8_t out_mac[MG_MAC_SIZE])
{
    uint8_t input[CONTEXT_SIZE + MG_LATCH__TOKEN_SIZE - MG_MAC_SIZE];

    memcpy(input, token_context, CONTEXT_SIZE);
    memcpy(input + CONTEXT_SIZE, token, sizeof input - CONTEXT_SIZE);
    mg_latch_sign(latch, MG_SLICE(input, sizeof input), out_mac);
}

void mg_latch__token_write(const struct mg_latch *latch, const struct mg_latch__token *token,
                           uint8_t out[MG_LATCH__TOKEN_SIZE])
{
    out[0] = TOKEN_VERSION;
    out[1] = token->shared ? TOKEN_SHARED : 0;
    mg_store_le64(out + 2, token->store_id);
    mg_store_le64(out + 10, token->epoch);
    mg_store_le64(out + 18, token->number);
    mg_store_le64(out + 26, (uint64_t)token->at_most_ms);
    token_mac(latch, out, out + MG_LATCH__TOKEN_SIZE - MG_MAC_SIZE);
}

enum mg_code mg_latch__token_read(const struct mg_latch *latch, struct mg_slice bytes, struct mg_latch__token *out,
                                  struct mg_error *err)
{
    uint8_t mac[MG_MAC_SIZE];

    if (bytes.size != MG_LATCH__TOKEN_SIZE)
        return mg_fail(err, MG_TICKET_INVALID, "lease token has %zu bytes, not %d: it was not made by this store",
                       bytes.size, (int)MG_LATCH__TOKEN_SIZE);
    token_mac(latch, bytes.data, mac);
    if (CRYPTO_memcmp(mac, bytes.data + MG_LATCH__TOKEN_SIZE - MG_MAC_SIZE, MG_MAC_SIZE) != 0)
        return mg_fail(err, MG_TICKET_INVALID, "lease token was not made by this store, or was changed");
    if (bytes.data[0] != TOKEN_VERSION)
        return mg_fail(err, MG_TICKET_INVALID, "lease token has version %u, this server knows %d", bytes.data[0],
                       (int)TOKEN_VERSION);

    struct mg_latch__token token = {
        .shared = (bytes.data[1] & TOKEN_SHARED) != 0,
        .store_id = mg_load_le64(bytes.data + 2),
        .epoch = mg_load_le64(bytes.data + 10),
        .number = mg_load_le64(bytes.data + 18),
        .at_most_ms = (int64_t)mg_load_le64(bytes.data + 26),
    };
    uint64_t here = latch->engine->ops->store_id(latch->engine);
    if (token.store_id != here)
        return mg_fail(err, MG_TICKET_INVALID, "lease token is of store %016llx, this is %016llx",
                       (unsigned long long)token.store_id, (unsigned long long)here);
    *out = token;
    return MG_OK;
}
