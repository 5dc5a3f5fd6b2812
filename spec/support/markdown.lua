-- The code blocks of a Markdown page, so that specs run what a page shows.
local markdown = {}

-- Blocks of the chapter with this heading (## ...), in their order: { language, text, line }.
function markdown.blocks(path, chapter)
  local blocks, block, in_chapter, number = {}, nil, false, 0
  for line in io.lines(path) do
    number = number + 1
    local fence = line:match("^```(.*)$")
    if block and fence then
      block.text = table.concat(block, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif line:find("^## ") then
      in_chapter = line == "## " .. chapter
    elseif fence and in_chapter then
      block = { language = fence, line = number }
    end
  end
  assert(blocks[1], ("%s has no code under '%s'"):format(path, chapter))
  return blocks
end

-- The text of the chapter with this heading, up to the next.
function markdown.chapter(path, chapter)
  local file = assert(io.open(path))
  local text = "\n" .. file:read("*a") .. "\n## "
  file:close()
  local _, last = text:find("\n## " .. chapter .. "\n", 1, true)
  assert(last, path .. " has no chapter " .. chapter)
  return text:sub(last, text:find("\n## ", last, true))
end

return markdown
