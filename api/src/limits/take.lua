-- Takes one from each bucket or from none of them, or puts one back into each. limits/bucket.rs says the same; a test holds the
-- two against each other. Moments are microseconds of this server's clock, below 2^53.
--
-- KEYS     the buckets: the moment at which each will be full; absent is full
-- ARGV     'take' or 'give_back'; then for each bucket its interval and its capacity, in microseconds
-- answers  the place of the first bucket that has none (0: all gave), then for each bucket what lacks until it is full, in microseconds
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local takes = ARGV[1] == 'take'
local refused, lacks, afterwards = 0, {}, {}

for i, key in ipairs(KEYS) do
    local interval, capacity = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local ahead = math.max(0, tonumber(redis.call('GET', key) or 0) - now)
    lacks[i] = ahead > 2 * capacity and 0 or math.min(ahead, capacity)
    afterwards[i] = takes and lacks[i] + interval or math.max(0, lacks[i] - interval)
    if afterwards[i] > capacity and refused == 0 then
        refused = i
    end
end

if refused == 0 then
    lacks = afterwards
    for i, key in ipairs(KEYS) do
        if lacks[i] == 0 then
            redis.call('DEL', key)
        else
            redis.call('SET', key, string.format('%.0f', now + lacks[i]), 'PX', math.ceil(lacks[i] / 1000))
        end
    end
end

table.insert(lacks, 1, refused)
return lacks
