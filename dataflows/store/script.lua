-- One batch of rows of one shard, as a whole or not at all (DESIGN section 5, Redis).
--
-- KEYS  1 watermark, 2 generation pointer, then the keys to delete, then the keys to set
-- ARGV  1 generation, 2 seq, 3 the seq this writer last saw acknowledged ('' if it expects none),
--       4 '1' in the first call of a pass, 5 '1' in the last, 6 how many keys to delete,
--       then one blob per key to set
-- Returns {status, generation, seq, writing}, the last three as found before ('' if none);
-- status: 'ok'; 'refused' a newer writer has been here; 'lost' Redis has forgotten what it
-- had acknowledged. Nothing is changed unless the status is 'ok'.
--
-- The watermark is a hash: every row is there as of (generation, seq), seq -1 while the first
-- pass of a generation is under way; 'writing' is the seq of the newest pass begun. A late call
-- of an older pass is refused by it, also before the newer pass is done.
-- Numbers are doubles in Lua: exact up to 2^53, which a seq does not reach.

local found = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'writing')
local found_generation = tonumber(found[1] or -1)
local found_seq = tonumber(found[2] or -1)
local found_writing = tonumber(found[3] or found_seq)
local generation = tonumber(ARGV[1])
local seq = tonumber(ARGV[2])
local first = ARGV[4] == '1'
local last = ARGV[5] == '1'
local status = 'ok'

if found_generation > generation
    or (found_generation == generation and found_writing > seq) then
  status = 'refused'
elseif (ARGV[3] ~= '' and (found_generation < generation or found_seq < tonumber(ARGV[3])))
    or (not first and (found_generation < generation or found_writing < seq)) then
  status = 'lost'
end

if status == 'ok' then
  local deletes = tonumber(ARGV[6])
  for i = 3, 2 + deletes do
    redis.call('DEL', KEYS[i])
  end
  for i = 3 + deletes, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 4 - deletes])
  end
  if last then
    redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'seq', ARGV[2], 'writing', ARGV[2])
    if tonumber(redis.call('GET', KEYS[2]) or -1) < generation then
      redis.call('SET', KEYS[2], ARGV[1])
    end
  elseif first then
    if found_generation < generation then
      redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'seq', '-1')
    end
    redis.call('HSET', KEYS[1], 'writing', ARGV[2])
  end
end
return {status, found[1] or '', found[2] or '', found[3] or ''}
