-- Which streams and endpoints are live. Saving this file puts it into force.
--
-- The original consumer, which stores no sequences, is one word away:
--   require "streams.market_data"
return {
  streams = {
    require "streams.market_data_v2",
    require "streams.news",
    require "streams.insights",
  },
  endpoints = {
    require "endpoints.klines_missed",
    require "endpoints.klines",
    require "endpoints.news",
    require "endpoints.insights",
    require "endpoints.insights_latest",
  },
}
