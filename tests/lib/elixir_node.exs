# SPDX-License-Identifier: Apache-2.0
# Evaluates the expressions that come on stdin, a line each, and ends with it. Variables stay from line to line.
defmodule Serve do
  def loop(binding) do
    case IO.gets("") do
      line when is_binary(line) ->
        binding =
          try do
            # A line break within an expression is written as U+2028.
            {value, binding} = line |> String.replace("\u2028", "\n") |> Code.eval_string(binding)
            answer("ok", value)
            binding
          rescue
            error -> answer("failed", error) && binding
          catch
            kind, reason -> answer("failed", {kind, reason}) && binding
          end

        loop(binding)

      _ ->
        System.halt(0)
    end
  end

  defp answer(word, value), do: IO.puts("answer {#{word},#{inspect(value, limit: :infinity, width: :infinity)}}")
end

IO.puts("started #{node()}")
Serve.loop([])
