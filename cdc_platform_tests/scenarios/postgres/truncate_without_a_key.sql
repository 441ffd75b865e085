-- TRUNCATE of a table whose rows cannot be told apart: as many DELETEs as there were rows.
-- table: readings
create table readings (sensor text, value int);
alter table readings replica identity full;
insert into readings values ('a', 1), ('a', 1), ('b', null);
-- run
truncate readings;
insert into readings values ('a', 1);
-- run
-- expect events
--   DELETE  {"sensor": "a", "value": 1}     null
--   DELETE  {"sensor": "a", "value": 1}     null
--   DELETE  {"sensor": "b", "value": null}  null
--   INSERT  null                            {"sensor": "a", "value": 1}
