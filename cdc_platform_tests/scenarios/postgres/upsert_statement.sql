-- INSERT ... ON CONFLICT and MERGE: what they did to each row counts.
-- table: counters
create table counters (id int primary key, value int);
insert into counters values (1, 0);
-- run
insert into counters values (1, 5), (2, 5) on conflict (id) do update set value = counters.value + excluded.value;
insert into counters values (1, 9) on conflict do nothing;
merge into counters using (values (2, 1), (3, 1)) as new (id, value) on counters.id = new.id
when matched then delete when not matched then insert values (new.id, new.value);
-- run
-- expect events
--   UPDATE  {"id": 1, "value": null}  {"id": 1, "value": 5}
--   INSERT  null                      {"id": 2, "value": 5}
--   DELETE  {"id": 2, "value": null}  null
--   INSERT  null                      {"id": 3, "value": 1}
