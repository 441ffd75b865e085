-- Without a key and with the default identity Postgres would refuse UPDATE and DELETE as soon as the table is published:
-- the first run makes the identity full, so that the source's own work goes on and whole old rows are logged.
-- table: readings
create table readings (sensor text, value float8);
insert into readings values ('a', 1.5), ('b', 2);
-- run
update readings set value = 3 where sensor = 'a';
delete from readings where sensor = 'b';
-- run
-- expect events
--   UPDATE  {"sensor": "a", "value": 1.5}  {"sensor": "a", "value": 3.0}
--   DELETE  {"sensor": "b", "value": 2.0}  null
