-- The sketches in SQL, byte for byte as the Java side makes them. No extension; everything is immutable and parallel safe.

-- Histogram: the sketch of a distribution. Encoding: see tallyroll.bins.

create function tallyroll.bin(value double precision) returns integer
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case
    when value = 0 then 0
    else sign(value)::integer * (3265 +
      ((get_byte(b, 0) << 10) | (get_byte(b, 1) << 2) | (get_byte(b, 2) >> 6))
      - case when abs(value) < 2.2250738585072014e-308 then 3456 else 0 end)
    end
  from float8send(abs(value) * case when abs(value) < 2.2250738585072014e-308 then 18014398509481984 else 1 end) b
$$;
comment on function tallyroll.bin(double precision) is
  'The bin of a finite number: 64 bins for each power of two, mirrored for negative ones, 0 for zero';

create function tallyroll.bin_value(bin integer) returns double precision
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case when bin = 0 then 0::double precision else
    sign(bin) * ((1 + (((abs(bin) - 3265) & 63) + 0.5::double precision) / 64)
    * power(2::double precision, ((abs(bin) - 3265) >> 6) - 1023)) end
$$;
comment on function tallyroll.bin_value(integer) is 'The middle of a bin, within 0.79 % of every value in it';

create function tallyroll.bins(sketch bytea) returns table (bin integer, n bigint)
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  with flat as materialized (
    -- A flat copy: get_byte would unpack a compressed value again for every byte. The CASE is for the planner, which
    -- would otherwise look into an empty constant.
    select case when length(sketch) > 0 then substring(sketch from 1) else '\x00800000'::bytea end as s
    where length(sketch) > 0
  ), head as (
    select s, get_byte(s, 0) >> 4 as bin_width, get_byte(s, 0) & 15 as count_width,
      ((get_byte(s, 1) << 16) | (get_byte(s, 2) << 8) | get_byte(s, 3)) - 8388608 as lowest
    from flat
  )
  select
    (lowest + sum(case bin_width
      when 0 then 0
      when 1 then get_byte(s, o)
      when 2 then (get_byte(s, o) << 8) | get_byte(s, o + 1)
      else (get_byte(s, o) << 16) | (get_byte(s, o + 1) << 8) | get_byte(s, o + 2)
    end) over (order by o))::integer,
    case count_width
      when 0 then 1::bigint
      when 1 then get_byte(s, o + bin_width)::bigint
      when 2 then ((get_byte(s, o + bin_width) << 8) | get_byte(s, o + bin_width + 1))::bigint
      else ('x' || lpad(encode(substring(s from o + bin_width + 1 for count_width), 'hex'), 16, '0'))::bit(64)::bigint
    end
  from head, lateral generate_series(4,
    case when bin_width + count_width = 0 then 4 else length(s) - 1 end,
    greatest(1, bin_width + count_width)) o
$$;
comment on function tallyroll.bins(bytea) is
  'The bins of a histogram with their counts. Encoding: a byte with the widths of distances (high half) and counts (low half; 0: all are one), three bytes with the least bin plus 2^23, then for each bin its distance from the one before and its count, big-endian';

create function tallyroll.encode_bins(bins integer[], counts bigint[]) returns bytea
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  with sorted as (
    select b, c, b - lag(b, 1, b) over (order by b) as distance from unnest(bins, counts) as u (b, c)
  ), widths as (
    select min(b) as lowest,
      (length(ltrim(encode(int4send(max(distance)), 'hex'), '0')) + 1) / 2 as bin_width,
      (length(ltrim(encode(int8send(case when max(c) = 1 then 0 else max(c) end), 'hex'), '0')) + 1) / 2 as count_width
    from sorted
  )
  select coalesce((
    select substring(int4send((bin_width << 4) | count_width) from 4)
      || substring(int4send(lowest + 8388608) from 2)
      || string_agg(
           substring(int4send(distance) from 5 - bin_width) || substring(int8send(c) from 9 - count_width),
           ''::bytea order by b)
    from widths, sorted
    group by lowest, bin_width, count_width), ''::bytea)
$$;
comment on function tallyroll.encode_bins(integer[], bigint[]) is 'A histogram of distinct bins with their counts, in canonical form';

create function tallyroll.merge_histograms(sketches bytea[]) returns bytea
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select tallyroll.encode_bins(array_agg(bin), array_agg(n))
  from (
    select b.bin, sum(b.n)::bigint as n
    from unnest(sketches) s, lateral tallyroll.bins(s) b
    group by b.bin
  ) merged
$$;

create aggregate tallyroll.merge(bytea) (
  sfunc = array_append, stype = bytea[], initcond = '{}', combinefunc = array_cat,
  finalfunc = tallyroll.merge_histograms, parallel = safe
);
comment on aggregate tallyroll.merge(bytea) is 'Merges the histograms of distributions';

create function tallyroll.histogram_of(vals double precision[]) returns bytea
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select tallyroll.encode_bins(array_agg(bin), array_agg(n))
  from (
    select tallyroll.bin(v) as bin, count(*) as n
    from unnest(vals) v
    where v not in ('NaN'::double precision, 'Infinity'::double precision, '-Infinity'::double precision)
    group by 1
  ) counted
$$;

create aggregate tallyroll.histogram(double precision) (
  sfunc = array_append, stype = double precision[], initcond = '{}', combinefunc = array_cat,
  finalfunc = tallyroll.histogram_of, parallel = safe
);
comment on aggregate tallyroll.histogram(double precision) is 'The histogram of finite numbers; NULL, NaN and infinities are left out';

create function tallyroll.quantile(
  sketch bytea, q double precision, lowest double precision default null, highest double precision default null)
returns double precision
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  with counted as (
    select bin, sum(n) over (order by bin) as up_to, sum(n) over () as total from tallyroll.bins(sketch)
  ), ranked as (
    select bin, up_to, total, ceil(q * total::double precision) as rank from counted
  )
  select case
      when lowest is not null and rank <= 1 then lowest
      when highest is not null and rank >= total then highest
      else least(greatest(tallyroll.bin_value(bin), lowest), highest)
    end
  from ranked
  where up_to >= rank
  order by bin
  limit 1
$$;
comment on function tallyroll.quantile(bytea, double precision, double precision, double precision) is
  'The value of rank ceil(q * count) within 1 %, clamped to the least and the greatest value if they are given';

-- Distinct sketch: up to 256 hashes of 48 bits, or a bitmap of 32 levels by 2,048 rows.

create function tallyroll.distinct_hash(value text) returns bit varying
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select ('x' || encode(substring(sha256(convert_to(value, 'UTF8')) for 6), 'hex'))::bit(48)::bit varying
$$;

create function tallyroll.coupon(hash bit varying) returns integer
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case position(B'1' in substring(hash from 12 for 31))
      when 0 then 31
      else position(B'1' in substring(hash from 12 for 31)) - 1
    end * 2048 + substring(hash from 1 for 11)::bit(11)::integer
$$;
comment on function tallyroll.coupon(bit varying) is 'The bit of a hash in the bitmap: leading zeros after the first 11 bits, by those 11 bits';

create function tallyroll.merge_distinct(sketches bit varying[]) returns bit varying
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  hashes bit varying[];
  bitmap bit varying;
begin
  select array_agg(distinct substring(s from 48 * i + 1 for 48)) into hashes
  from unnest(sketches) s, generate_series(0, length(s) / 48 - 1) i
  where length(s) < 65536;
  select bit_or(s::bit(65536)) into bitmap from unnest(sketches) s where length(s) = 65536;
  if bitmap is null and coalesce(cardinality(hashes), 0) <= 256 then
    return coalesce((select string_agg(h::text, '' order by h) from unnest(hashes) h), '')::bit varying;
  end if;
  select bit_or(set_bit(zero, coupon, 1)) | coalesce(bitmap::bit(65536), zero) into bitmap
  from (select repeat('0', 65536)::bit(65536) as zero) z,
       (select distinct tallyroll.coupon(h) as coupon from unnest(hashes) h) c
  group by zero;
  return coalesce(bitmap, (select bit_or(s::bit(65536)) from unnest(sketches) s where length(s) = 65536));
end
$$;

create aggregate tallyroll.merge(bit varying) (
  sfunc = array_append, stype = bit varying[], initcond = '{}', combinefunc = array_cat,
  finalfunc = tallyroll.merge_distinct, parallel = safe
);
comment on aggregate tallyroll.merge(bit varying) is 'Merges the sketches of distinct counts';

create function tallyroll.distinct_of(vals text[]) returns bit varying
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select tallyroll.merge_distinct(array_agg(tallyroll.distinct_hash(v)))
  from (select distinct v from unnest(vals) v where v is not null) d
$$;

create aggregate tallyroll.distinct_sketch(text) (
  sfunc = array_append, stype = text[], initcond = '{}', combinefunc = array_cat,
  finalfunc = tallyroll.distinct_of, parallel = safe
);
comment on aggregate tallyroll.distinct_sketch(text) is 'The sketch of the distinct values of texts; NULL is left out';

create function tallyroll.estimate(sketch bit varying) returns bigint
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  -- The number of values that 0, {step}, ... coupons stand for: the inverse of the expected number of coupons.
  estimates constant double precision[] := array[{estimates}]::double precision[];
  coupons integer;
  at integer;
begin
  if sketch is null then
    return null;
  end if;
  if length(sketch) < 65536 then
    return length(sketch) / 48;
  end if;
  coupons := bit_count(sketch::bit(65536));
  at := coupons / {step} + 1;
  if at >= cardinality(estimates) then
    return floor(estimates[cardinality(estimates)] + 0.5);
  end if;
  return floor(estimates[at] + (estimates[at + 1] - estimates[at])
    * ((coupons - (at - 1) * {step})::double precision / {step}) + 0.5);
end
$$;
comment on function tallyroll.estimate(bit varying) is
  'The number of distinct values: exact up to 256, within 1.6 % standard error beyond';

-- The tenant that row-level security lets a session see, and whether the caller is bound by it at all.

create function tallyroll.caller_sees_all(owner oid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, owner, 'usage')
  from pg_roles r
  where r.rolname = coalesce(nullif(nullif(current_setting('role'), 'none'), ''), session_user)
$$;
comment on function tallyroll.caller_sees_all(oid) is
  'Whether the caller of a function that runs as its owner is that owner or stands above row-level security';

create function tallyroll.uncovered(of_rollup text) returns tstzmultirange
language sql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
  select coalesce(
    (select tstzmultirange(tstzrange(history_from::timestamptz, history_to::timestamptz))
     from tallyroll.rollup where name = of_rollup and history_from is not null), '{}')
  - coalesce(
    (select range_agg(tstzrange(day_from::timestamptz, day_to::timestamptz)) from tallyroll.slice where rollup = of_rollup), '{}')
$$;
comment on function tallyroll.uncovered(text) is 'The part of the history that no backfill has published yet';
