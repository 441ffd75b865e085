-- Without a key and with the default identity Postgres would refuse UPDATE and DELETE as soon as the table is published:
-- said before anything is made, and nothing is changed at the source.
-- table: readings
-- table: people
create table readings (sensor text, value float8);
create table people (id int primary key, name text);
insert into readings values ('a', 1.5);
insert into people values (1, 'Ada');
-- run
-- expect stop 4 readings: replica identity
-- expect nothing written readings
update readings set value = 2;
delete from readings;
