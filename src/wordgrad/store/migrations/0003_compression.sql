-- Whether a step compressed the text; none did before.
UPDATE events SET body = json_set(body, '$.compression', json('false')) WHERE kind = 'step';
