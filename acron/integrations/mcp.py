"""The agent's tool over the Model Context Protocol: ``python -m acron mcp``.

Needs the extra ``mcp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.errors import ConfigError
from acron.integrations.request import Refused, schema

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from acron.integrations.tool import Desk

_MISSING = 'the official mcp package is not installed: pip install "acron-runtime[mcp]"'


def server(desk: Desk) -> Server[Any]:
    """An MCP server with the one tool, for the origin of ``desk``. Its app must be open.

    Raises ConfigError without the extra.
    """
    try:
        import mcp_types as types  # noqa: PLC0415 (an extra)
        from mcp.server.lowlevel import Server  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(_MISSING) from error

    told = schema(desk.functions)
    only = types.Tool(
        name=told["name"], description=told["description"], input_schema=told["parameters"]
    )

    async def on_list_tools(*_: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[only])

    async def on_call_tool(_: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            if params.name != only.name:
                raise Refused(f"there is one tool, {only.name}")  # noqa: TRY301
            text, refused = await desk.do(params.arguments or {}), False
        except Refused as error:
            text, refused = str(error), True
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=refused)

    return Server("acron", on_list_tools=on_list_tools, on_call_tool=on_call_tool)


async def serve(desk: Desk) -> None:
    """Serve on standard input and output until the client goes."""
    made = server(desk)
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 (an extra)

    async with stdio_server() as (reading, writing):
        await made.run(reading, writing, made.create_initialization_options())
