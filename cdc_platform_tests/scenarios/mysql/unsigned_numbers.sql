-- Unsigned numbers up to their largest, which signed ones of their size cannot hold.
-- table: numbers
create table numbers (
  id bigint unsigned primary key, tiny tinyint unsigned, small smallint unsigned, medium mediumint unsigned,
  plain int unsigned, big bigint unsigned, bits bit(20), many_bits bit(63), yes boolean, padded int(8) unsigned zerofill
);
insert into numbers values
  (18446744073709551615, 255, 65535, 16777215, 4294967295, 18446744073709551615, b'11', b'101', true, 42);
-- run
insert into numbers values (0, 0, 0, 0, 0, 0, 0, 0, false, 0), (1, null, null, null, null, null, null, null, null, null);
update numbers set tiny = 128, small = 32768, medium = 8388608, plain = 2147483648, big = 9223372036854775808
where id = 18446744073709551615;
-- run
