-- A table of an engine without transactions has no consistent snapshot: a clear stop, and the other table goes on.
-- table: people
-- table: others
create table people (id int primary key, name varchar(100)) engine = MyISAM;
create table others (id int primary key);
insert into people values (1, 'Ada');
-- run
-- expect stop 4 people: people is kept by MyISAM, which has no consistent snapshots; run: alter table
-- expect nothing written people
insert into others values (1);
