-- More than nine files, changes of one key in each: the last one counts, by number and not by text.
-- Elsewhere MariaDB's positions are compared wrongly (flink-cdc#2794).
-- table: people
create table people (id int primary key, value int);
insert into people values (1, 0);
-- run
update people set value = 1;
flush binary logs;
update people set value = 2;
flush binary logs;
flush binary logs;
flush binary logs;
flush binary logs;
update people set value = 3;
flush binary logs;
flush binary logs;
flush binary logs;
flush binary logs;
flush binary logs;
update people set value = 4;
flush binary logs;
update people set value = 5;
-- run
-- expect rows
--   id | value
--   1  | 5
