-- Reads of the index: who may, and which file of the page tree answers. Loaded by nginx.conf.
--
-- A verdict is kept in shared memory alone, under HMAC(secret of this start, channel space Authorization):
-- its value is the time from which web is to be asked again, its flags are the verdict.
--
-- Each look at a variable costs most of a microsecond here and next to nothing in nginx.conf, which
-- therefore prepares what is asked in the common case.

local ffi = require "ffi"
local hmac = require "hmac"
local time = require "resty.core.time"

ffi.cdef "long readlink(const char *path, char *target, size_t size);"

local ALLOW, PUBLIC, UNKNOWN, FORBIDDEN, AWAY = 1, 2, 3, 4, 5
local ALLOWED = { allow = ALLOW, public = PUBLIC }
local REFUSALS = { [UNKNOWN] = "@unknown", [FORBIDDEN] = "@forbidden", [AWAY] = "@away" }
-- Seconds. Web's own memory is 2 s old at most: who is shut out is out after 5 s.
local FRESH, REFUSED, STALE = 3, 2, 900
local PATIENCE, PATIENCE_KNOWN, LONGEST_ASK = 5, 1, 8
local MOST_ASKED = 100 -- verdicts that are not known here, for one address and second: each costs web work
local LONGEST_LINK = 4096

local ngx, var, exec = ngx, ngx.var, ngx.exec
local now, get_method, set_uri = time.monotonic_time, ngx.req.get_method, ngx.req.set_uri
local allowed = ngx.shared.buildfarm_allowed
local refused = ngx.shared.buildfarm_refused
local asking = ngx.shared.buildfarm_asking
local rates = ngx.shared.buildfarm_rates
local target = ffi.new("char[?]", LONGEST_LINK)
local readlink, text_of = ffi.C.readlink, ffi.string
local types = {
    [".provenance"] = "application/vnd.pypi.integrity.v1+json",
    [".sigstore.json"] = "application/vnd.dev.sigstore.bundle.v0.3+json",
    [".reproduced.jsonl"] = "application/jsonl",
}

local front = {}
local digest, pages, blobs, web

function front.start(given)
    pages, blobs, web = given.pages, given.blobs, given.web
    local kept = ngx.shared.buildfarm_secret
    local random = assert(io.open("/dev/urandom", "rb"))
    kept:add("secret", random:read(32)) -- a reload goes on with the one of the start, and its verdicts
    random:close()
    digest = hmac.keyed(kept:get("secret"))
end

local function recall(key)
    local ask_at, verdict = allowed:get(key)
    if not ask_at then
        ask_at, verdict = refused:get(key)
    end
    return verdict, ask_at and now() < ask_at
end

local function refuse(key, verdict)
    allowed:delete(key)
    refused:set(key, now() + REFUSED, REFUSED, verdict)
    return verdict
end

-- Web's answer to the question: status, verdict; nil when there is none. A subrequest would be nginx's way, but
-- Lua cannot make one for a request that came by HTTP/2.
local function fetch(patience)
    local socket, authorization = ngx.socket.tcp(), var.http_authorization
    socket:settimeouts(1000, 1000, patience * 1000)
    if not socket:connect("unix:" .. web) then
        return nil
    end
    socket:send {
        "GET /_verdict/", var.channel, " HTTP/1.1\r\nHost: front\r\nConnection: close\r\n",
        "X-Forwarded-For: ", var.remote_addr, "\r\nX-Forwarded-Proto: ", var.scheme, "\r\n",
        authorization and "Authorization: " .. authorization .. "\r\n" or "", "\r\n",
    }
    local line = socket:receive()
    local status, verdict = line and tonumber(line:match("^HTTP/1%.%d (%d%d%d)")), nil
    while line and line ~= "" do
        line = socket:receive()
        verdict = line and line:lower():match("^x%-verdict: *(%a+)") or verdict
    end
    socket:close()
    return line and status, verdict
end

-- Whether this address asks for more verdicts than it may in a second.
local function asks_too_often()
    local second = var.remote_addr .. " " .. math.floor(now())
    return (rates:incr(second, 1, 0, 2) or 0) > MOST_ASKED
end

local function ask(key, before)
    if asks_too_often() then
        return AWAY -- known or not: flooding must not keep alive what web might refuse
    end
    local is_known = before == ALLOW or before == PUBLIC
    local status, name = fetch(is_known and PATIENCE_KNOWN or PATIENCE)
    local verdict = status == 204 and ALLOWED[name]
    if verdict then
        allowed:set(key, now() + FRESH, STALE, verdict)
        return verdict
    elseif status == 401 then
        return refuse(key, UNKNOWN)
    elseif status == 403 then
        return refuse(key, FORBIDDEN)
    elseif is_known then
        local left = allowed:ttl(key)
        if left and left > 0 then
            allowed:set(key, now() + FRESH, left, before)
            return before
        end
    end
    -- Whoever brought no credentials is asked for them; that needs nobody.
    return refuse(key, var.http_authorization and AWAY or UNKNOWN)
end

local function verdict_on(key)
    local verdict, is_fresh = recall(key)
    local started, pause = now(), 0.002
    while not is_fresh do
        if asking:add(key, true, LONGEST_ASK) then
            verdict, is_fresh = recall(key)
            if not is_fresh then
                verdict = ask(key, verdict)
            end
            asking:delete(key)
            return verdict
        elseif now() - started > LONGEST_ASK then
            return AWAY
        end
        ngx.sleep(pause) -- another request asks the same
        pause = math.min(pause * 2, 0.05)
        verdict, is_fresh = recall(key)
    end
    return verdict
end

-- The path as it came, when nginx understood it so; `+` and `!` may come encoded, as pages write them.
local function plain_path()
    local uri, came = var.uri, var.request_uri
    if came == uri
        or came:find("%2", 1, true) and came:gsub("%%2([Bb1])", { B = "+", b = "+", ["1"] = "!" }) == uri
    then
        return uri
    end
    return exec("@web")
end

-- Goes on for those who may read, and for nobody else.
local function admit()
    local asks = var.asks
    if asks:sub(-1) == " " and var.http_cookie then
        return exec("@web") -- a browser's session is web's to know
    end
    local verdict = verdict_on(digest(asks))
    if verdict == PUBLIC then
        var.audience = ""
    elseif verdict ~= ALLOW then
        return exec(REFUSALS[verdict])
    end
end

function front.page()
    local page = var.page
    if page == "" then
        return exec("@web")
    end
    local path = plain_path()
    admit()
    if path:sub(-8) == "/simple/" then
        set_uri(path .. ".root." .. page, false)
    else
        set_uri(path:sub(1, -2) .. "." .. page, false)
    end
end

function front.document()
    if var.document == "" then
        return exec("@web")
    end
    plain_path()
    admit()
    local feed = var.feed
    if feed ~= "" then
        set_uri("/" .. var.channel .. "/rss/project/" .. feed .. ".xml", false)
    end
end

function front.tell_serial()
    local etag = ngx.header.etag
    if etag then
        var.serial = math.floor(tonumber("0x" .. etag:sub(2, etag:find("-", 2, true) - 1)) / 8)
    end
end

-- Whether nginx and web read the range alike, and there is something in it.
local function is_simple_range(blob)
    local validator = var.http_if_range
    local first, last = var.http_range:match("^bytes=(%d*)-(%d*)$")
    if not first or #first > 15 or #last > 15 or validator and validator:sub(1, 1) ~= '"'
        or var.plain == "" or get_method() == "HEAD"
    then
        return false
    end
    local from, to = tonumber(first), tonumber(last)
    if not from then
        return to and to > 0
    end
    local file = io.open(blob, "rb")
    local size = file and file:seek("end") or 0
    if file then
        file:close()
    end
    return from < size and from <= (to or from)
end

function front.file()
    local is_whole = var.whole ~= ""
    if not is_whole and not var.http_range then
        return exec("@web")
    end
    local path = plain_path()
    admit()
    local length = tonumber(readlink(pages .. path, target, LONGEST_LINK))
    if length <= #blobs or length == LONGEST_LINK then
        return exec("@web")
    end
    local blob = text_of(target, length)
    if blob:sub(1, #blobs) ~= blobs or blob:find("/..", 1, true) or not is_whole and not is_simple_range(blob) then
        return exec("@web")
    end
    if path:sub(-4) ~= ".whl" and path:sub(-9) ~= ".metadata" then
        ngx.header.content_type = types[var.side] or path:sub(-7) == ".tar.gz" and "application/gzip"
            or "application/octet-stream"
    end
    set_uri(blob:sub(#blobs), false)
end

return front
