-- Sequences, identity and defaults: the log has the values that the server gave.
-- table: things
create table things (
  id bigint generated always as identity primary key, number serial, made timestamptz default now(),
  label text not null default 'none'
);
insert into things (label) values ('a');
-- run
insert into things default values;
insert into things (id, label) overriding system value values (100, 'b');
select nextval('things_number_seq');
insert into things (label) values (default), ('');
-- run
