-- Two rows exchange their keys in one transaction, by way of a third value.
-- table: seats
create table seats (seat int primary key, guest text);
insert into seats values (1, 'Ada'), (2, 'Bob');
-- run
begin;
update seats set seat = -1 where seat = 1;
update seats set seat = 1 where seat = 2;
update seats set seat = 2 where seat = -1;
commit;
-- run
-- expect rows
--   seat | guest
--   1    | Bob
--   2    | Ada
