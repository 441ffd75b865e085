-- A new table takes the name of the one that was followed, as tools for changes without downtime do.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
create table people_new (id int primary key, name varchar(100), age int);
insert into people_new select id, upper(name), null from people;
rename table people to people_old, people_new to people;
-- run
-- expect stop 4: people: RENAME at ... takes the table away, or puts another in its place; run: cdc resync
