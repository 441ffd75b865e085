-- XA COMMIT ... ONE PHASE.
-- table: people
create table people (id int primary key, name varchar(100));
-- run
xa start 'one_$database';
insert into people values (1, 'Ada');
xa end 'one_$database';
xa commit 'one_$database' one phase;
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Ada"}
