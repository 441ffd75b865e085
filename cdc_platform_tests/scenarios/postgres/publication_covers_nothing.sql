-- A table that the publication lacks gives no changes; elsewhere every light is green (airbyte#14932, myscrollr#253).
-- Ours is put in by the first run, whatever else is published.
-- table: people
create table people (id int primary key, name text);
create table others (id int primary key);
create publication of_somebody_else for table others;
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob');
-- run
-- expect events
--   INSERT  null  {"id": 2, "name": "Bob"}
