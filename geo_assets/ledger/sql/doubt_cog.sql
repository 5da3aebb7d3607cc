-- A COG whose files are being replaced is of no rule: should the run die, it is made again, whatever the rule is then.
UPDATE ledger.cog SET rule_digest = NULL
WHERE source = %(source)s AND name = %(name)s AND place = %(place)s
    AND (name_in_place = ANY(%(names_in_place)s) OR thumbnail_name = ANY(%(names_in_place)s))
