/* SPDX-License-Identifier: MIT */

/* HTTP Basic in the place of client_id and client_secret (RFC 6749 §2.3.1). Of the password nothing
 * stays but its digest. */

#include "request.h"

#include <openssl/evp.h>
#include <strings.h>

#include "error.h"
#include "form.h"

static bool is_base64(const char *text, size_t size)
{
        const size_t padding = size - strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                                   "tuvwxyz0123456789+/");

        if (size == 0 || size % 4 != 0 || padding > 2)
                return false;
        return strspn(text + size - padding, "=") == padding;
}

/* Decodes to "user:password" behind what is in `ret`. */
static int append_base64(struct secret *ret, const char *text)
{
        const size_t size = strlen(text), before = ret->size;
        size_t decoded;
        int r;

        if (size > INT32_MAX || !is_base64(text, size))
                return REASON_BAD_AUTHORIZATION;
        decoded = size / 4 * 3;
        r = secret_reserve(ret, before + decoded);
        if (r)
                return r < 0 ? error_trace(r) : REASON_BAD_AUTHORIZATION;
        if (EVP_DecodeBlock((unsigned char *)ret->bytes + before, (const unsigned char *)text,
                            (int)size) < 0)
                return REASON_BAD_AUTHORIZATION; /* GCOVR_EXCL_LINE: is_base64() is as strict */
        decoded -= (size_t)(text[size - 1] == '=') + (size_t)(text[size - 2] == '=');
        ret->size = before + decoded;
        ret->bytes[ret->size] = '\0';
        return 0;
}

/* As it came, and form-decoded; it is rewritten. */
static void take_password(struct request_keys *keys, char *password, size_t size)
{
        struct text decoded;

        request_add_key(keys, (struct text){password, size});
        if ((memchr(password, '%', size) || memchr(password, '+', size)) &&
            form_decode(password, size, &decoded) == 0)
                request_add_key(keys, decoded);
}

int request_authorization(struct token_request *request, const char *header)
{
        struct secret *basic = &request->basic;
        size_t user_size;
        char *colon;
        int r;

        if (strncasecmp(header, "Basic", 5) != 0 || (header[5] != ' ' && header[5] != '\0'))
                return 0;
        header += 5;
        header += strspn(header, " ");

        request->basic_client = (struct text){};
        request->basic_client_raw = (struct text){};
        secret_clear(basic);
        r = append_base64(basic, header);
        if (r)
                return r;
        colon = memchr(basic->bytes, ':', basic->size);
        if (!colon || colon == basic->bytes)
                return REASON_BAD_AUTHORIZATION;

        /* Keep the user twice: once as it came, once to be decoded. */
        user_size = (size_t)(colon - basic->bytes);
        take_password(&request->keys, colon + 1, basic->size - user_size - 1);
        secret_wipe(colon, basic->size - user_size);
        basic->size = user_size;
        r = secret_reserve(basic, user_size * 2);
        if (r)
                return error_trace(r);
        memcpy(basic->bytes + user_size, basic->bytes, user_size);
        basic->size = user_size * 2;
        basic->bytes[basic->size] = '\0';

        request->basic_client_raw = (struct text){basic->bytes, user_size};
        if (form_decode(basic->bytes + user_size, user_size, &request->basic_client) != 0)
                request->basic_client = request->basic_client_raw; /* it was sent unencoded */
        return 0;
}
