-- `rename_column: stop`: whoever reads the old name decides.
-- config: schema_changes: {rename_column: stop}
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
alter table people rename column name to full_name;
insert into people values (2, 'Bob');
-- run
-- expect stop 4: public.people: column 'name' renamed to 'full_name' at ...: the pipeline's schema_changes.rename_column is 'stop'
-- expect nothing written
