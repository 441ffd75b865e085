-- One transaction of many rows, and others beside it. How many: CDC_TESTS_LARGE_ROWS.
-- keep: large
-- table: numbers
-- table: people
create table numbers (id bigint primary key, text_of_it text, half numeric(20, 1));
create table people (id int primary key, name text);
insert into numbers select n, 'number ' || n, n / 2.0 from generate_series(1, 1000) n;
-- run
-- session a: begin;
insert into numbers select n, 'number ' || n, n / 2.0 from generate_series(1001, $large_rows) n;
-- session b: insert into people values (1, 'Ada');
-- session a: update numbers set text_of_it = upper(text_of_it) where id % 3 = 0;
delete from numbers where id % 7 = 0;
commit;
-- run
