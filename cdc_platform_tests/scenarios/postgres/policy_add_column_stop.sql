-- `add_column: stop`: a person decides; allowed later, all goes on from there.
-- config: schema_changes: {add_column: stop}
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
alter table people add column age int;
insert into people values (2, 'Bob', 40);
-- run
-- expect stop 4: public.people: column 'age' added (integer) at ...: the pipeline's schema_changes.add_column is 'stop'
-- expect nothing written
-- config: schema_changes: {add_column: apply}
-- run
-- expect columns: id, name, age
