-- `drop_column: stop`: nothing is thrown away without a word.
-- config: schema_changes: {drop_column: stop}
-- table: people
create table people (id int primary key, name text, phone text);
insert into people values (1, 'Ada', '123');
-- run
alter table people drop column phone;
insert into people values (2, 'Bob');
-- run
-- expect stop 4: public.people: column 'phone' dropped at ...: the pipeline's schema_changes.drop_column is 'stop'
-- expect nothing written
