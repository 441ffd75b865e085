-- Columns that the pipeline renames and leaves out, before and after the source changes its own.
-- config: columns: {name: {rename: person}, secret: {drop: true}}
-- table: people
create table people (id int primary key, name text, secret text);
insert into people values (1, 'Ada', 'x');
-- run
-- expect columns: id, person
update people set secret = 'y', name = 'Adele';
alter table people add column age int;
insert into people values (2, 'Bob', 'z', 40);
-- run
-- expect columns: id, person, age
alter table people drop column secret;
insert into people values (3, 'Cid', 20);
-- run
-- expect columns: id, person, age
