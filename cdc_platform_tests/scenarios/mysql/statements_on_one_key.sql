-- Several statements on one key in one transaction: each is an event, the last one counts.
-- table: counters
create table counters (id int primary key, value int);
insert into counters values (1, 0);
-- run
begin;
update counters set value = value + 1 where id = 1;
delete from counters where id = 1;
insert into counters values (1, 10), (2, 0);
insert into counters values (1, 0) on duplicate key update value = value + 1;
replace into counters values (2, 5);
delete from counters where id = 2;
commit;
-- run
-- expect rows
--   id | value
--   1  | 11
