-- As text, zero dates and dates without a day come through as the server shows them.
-- read: as_text: [born, seen, changed]
-- table: people
create table people (id int primary key, born date, seen datetime, changed timestamp null);
set session sql_mode = 'allow_invalid_dates';
insert into people values (1, '1815-12-10', '2026-01-01 12:00:00', '2026-01-01 12:00:00'), (2, '0000-00-00', '0000-00-00', '0000-00-00');
-- run
insert into people values (3, '2026-02-31', '2026-00-00', null), (4, '0000-00-00', '0000-00-00', '0000-00-00');
-- run
