-- Several statements on one key in one transaction: each is an event, the last one counts.
-- table: counters
create table counters (id int primary key, value int);
insert into counters values (1, 0);
-- run
begin;
update counters set value = value + 1 where id = 1;
update counters set value = value + 1 where id = 1;
delete from counters where id = 1;
insert into counters values (1, 10), (2, 0);
update counters set value = value + 1 where id = 1;
delete from counters where id = 2;
commit;
-- run
-- expect events
--   UPDATE  {"id": 1, "value": null}  {"id": 1, "value": 1}
--   UPDATE  {"id": 1, "value": null}  {"id": 1, "value": 2}
--   DELETE  {"id": 1, "value": null}  null
--   INSERT  null                      {"id": 1, "value": 10}
--   INSERT  null                      {"id": 2, "value": 0}
--   UPDATE  {"id": 1, "value": null}  {"id": 1, "value": 11}
--   DELETE  {"id": 2, "value": null}  null
-- expect rows
--   id | value
--   1  | 11
