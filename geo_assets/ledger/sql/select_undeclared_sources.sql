SELECT source, url FROM ledger.source WHERE source <> ALL(%(declared)s) ORDER BY source
