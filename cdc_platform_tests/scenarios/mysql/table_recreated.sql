-- The table is dropped and made again: not the table that was followed. Rows went without a change in the log: a stop.
-- table: people
-- table: others
create table people (id int primary key, name varchar(100));
create table others (id int primary key);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
drop table people;
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Eve');
insert into others values (1);
-- run
-- expect stop 4 people: people: DROP TABLE at ... takes the table away, or puts another in its place; run: cdc resync
