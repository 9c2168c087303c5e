"""The functions behind the API's names, typed and documented: programs and MCP clients call these."""
