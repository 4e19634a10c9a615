"""Names and places by list, for :mod:`sartor.llm.privacy`: common ones, typed in from general knowledge."""

from typing import Final


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


GIVEN_EN: Final = frozenset(
    words(
        """
    aaron abdul abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra alexis alice
    alicia alison allison amanda amber amelia amir amy ana andrea andrew andy angela anita ann anna anne
    annie anthony antonio april arjun arthur ashley audrey austin barbara beatrice ben benjamin bernard beth
    betty beverly bill bob bobby bradley brandon brenda brian bruce bryan caitlin cameron carl carla carlos
    carmen carol caroline catherine cathy charles charlie charlotte chen cheryl chloe chris christian
    christina christine christopher claire clara colin connor craig crystal cynthia daisy dan daniel
    danielle darren dave david dawn deborah denise dennis derek diana diane diego dmitri dominic donald
    donna dorothy doug douglas duncan dylan edith edward eileen elaine eleanor elena elizabeth ella ellen
    emily emma eric erica erik erin esther ethan eugene eva evan evelyn fatima felix fernando fiona florence
    frances francesca francis francisco frank fred frederick gabriel gary gavin geoffrey george gerald gina
    giovanni gloria gordon grace graham greg gregory hannah hans harold harry harvey hassan heather hector
    helen henry hiroshi holly howard hugh hugo ian ibrahim imran irene isaac isabel isabella isla ivan jack
    jackie jacob jacqueline jake james jamie jan jane janet janice jason jasmine javier jay jean jeff
    jeffrey jen jennifer jenny jeremy jerry jesse jessica jesus jill jim jimmy joan joanna joe joel johan
    john johnny jon jonathan jordan jorge jose josef joseph josh joshua joyce juan judith judy julia julian
    julie justin karen karl kate katherine kathleen kathryn kathy katie keith kelly ken kenji kenneth kevin
    khalid kim kimberly kyle lara larry laura lauren lawrence lee leo leon leonard leslie lewis liam lila
    linda lisa lois lorenzo lori louis louise lucas lucia lucy luis luke lydia lynn madison manuel marc
    marco marcus margaret maria marie marilyn mario marion mark martha martin mary mateo matt matthew
    maureen max maya megan mehmet melanie melissa michael michelle miguel mike min mohamed mohammad mohammed
    molly monica muhammad nadia nancy naomi natalie natasha nathan neil nicholas nick nicola nicole nigel
    nina noah nora norman oliver olivia omar oscar owen pablo paige pamela patricia patrick paul paula pedro
    peggy penelope peter phil philip phillip phoebe phyllis pierre priya rachel rahul raj rajesh ralph
    raymond rebecca regina ricardo richard rick rita rob robert roberto robin roger roland ronald rosa rose
    rosemary ross roy russell ruth ryan sally sam samantha samuel sandra sanjay sara sarah scott sean
    sebastian serena sergio shannon sharon shaun sheila shirley simon sofia sophia sophie stacy stanley
    stefan stella stephanie stephen steve steven stuart sue susan suzanne sylvia tamara tanya tara taylor
    ted teresa terry theodore theresa thomas tiffany tim timothy tina todd tom tony tracy trevor tyler
    ursula valerie vanessa vera veronica victor victoria vincent virginia vivian vladimir walter wanda wayne
    wendy wei wesley william xavier yasmin yuki yuko yusuf zachary zoe
    """
    )
)
"""Given names, lower case; those that are everyday words besides (mark, rose, will …) count only beside a surname."""

AMBIGUOUS_EN: Final = frozenset(
    words(
        """
        amber april austin bill bob cameron carol chen christian crystal daisy dan dave dawn florence frank gordon
        grace holly hugo isla ivan jack jan jasmine jay jean jesus jordan joy ken kim lee leo madison mark max may
        min ray rick rita rob roger roland rose rosemary ross stella sue taylor tracy vera victoria
        violet virginia wei will
        """
    )
)
"""Given names that are everyday words, places or surnames as well."""

SURNAMES_EN: Final = frozenset(
    words(
        """
    adams ahmed ali allen anderson andrews bailey baker barnes bell bennett brooks brown butler campbell
    carter castillo chavez chen clark coleman collins cook cooper cox cruz davies davis diaz edwards evans
    fernandez fisher flores foster garcia gibson gomez gonzalez gray green griffin gupta hall hamilton
    harris harrison hayes henderson hernandez hill howard hughes hunt jackson james jenkins johnson johnston
    jones jordan kelly kennedy khan kim king kumar lee lewis li liu long lopez marshall martin martinez
    mason mcdonald mendoza miller mitchell moore morales morgan morris mueller muller murphy murray myers
    nelson nguyen novak obrien ortiz owens palmer parker patel patterson perez perry peterson phillips
    powell price ramirez ramos reed reyes reynolds richardson rivera roberts robertson robinson rodriguez
    rogers rojas rossi russell ruiz sanchez sanders schmidt scott shah sharma simmons singh smith stewart
    stone sullivan taylor thomas thompson torres tran turner walker wallace wang ward watson webb wells west
    white williams wilson wong wood wright yang young zhang zheng zhao huang wu zhou tanaka suzuki sato
    yamamoto
    """
    )
)

SURNAMES_JA: Final = tuple(
    words(
        """
    佐藤 鈴木 高橋 田中 伊藤 渡辺 渡邊 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤 斉藤
    清水 山崎 森 池田 橋本 阿部 石川 山下 中島 石井 小川 前田 岡田 長谷川 藤田 後藤 近藤 村上 遠藤 青木 坂本
    福田 太田 西村 藤井 金子 岡本 藤原 三浦 中野 中川 原田 松田 竹内 小野 田村 中山 和田 石田 森田 上田 原
    内田 柴田 酒井 宮崎 横山 高木 安藤 宮本 大野 小島 谷口 今井 工藤 高田 増田 丸山 杉山 村田 大塚 新井 小山
    平野 藤本 河野 上野 野口 武田 松井 千葉 菅原 岩崎 久保 木下 佐野 野村 松尾 市川 菊地 菊池 杉本 古川 島田
    水野 桜井 高野 渡部 吉川 山内 西田 飯田 西川 小松 北村 安田 五十嵐 川口 平田 関 中田 久保田 服部 東 岩田
    土屋 川崎 福島 本田 辻 樋口 秋山 田口 永井 中西 吉村 川上 石原 大橋 松岡 馬場 浅野 荒木 大久保 熊谷 野田
    川村 星野 大西 菅野 矢野 広瀬 浜田 黒田 松村 尾崎 内藤 小池 片山 栗原 堀 早川 栗田 宮田 荒井 神田 三宅
    上原 成田 堀内
    """
    )
)

GIVEN_JA: Final = tuple(
    words(
        """
    太郎 次郎 三郎 一郎 花子 健一 健太 翔太 大輔 直樹 拓也 達也 和也 哲也 裕太 裕子 恵子 由美子 由美 真由美
    美咲 愛 陽子 幸子 和子 節子 京子 洋子 久美子 智子 明美 直美 恵美 香織 麻衣 彩 彩香 結衣 陽菜 葵 さくら
    七海 美優 美穂 優子 典子 雅子 順子 誠 浩 浩二 浩一 隆 隆志 茂 実 勝 清 進 博 博之 修 豊 正 昭 和夫 正雄
    義男 武 亮 亮太 翔 蓮 大翔 悠斗 悠真 陽太 颯太 蒼 湊 樹 優斗 海斗 駿 航 慎一 慎太郎 雄太 雄一 康平 康弘
    俊介 俊彦 伸一 秀樹 英樹 英二 学 剛 聡 智也 友紀 由紀 由紀子 千尋 千春 早紀 沙織 瞳 舞 綾 綾子 奈々 奈緒
    奈津子 晴香 春香 遥 萌 莉子 凛 楓 咲良 芽衣 結菜 杏 心春 一樹 光一 孝 孝之 宏 弘 敏夫
    """
    )
)

PREFECTURES: Final = tuple(
    words(
        """
    北海道 青森県 岩手県 宮城県 秋田県 山形県 福島県 茨城県 栃木県 群馬県 埼玉県 千葉県 東京都 神奈川県
    新潟県 富山県 石川県 福井県 山梨県 長野県 岐阜県 静岡県 愛知県 三重県 滋賀県 京都府 大阪府 兵庫県 奈良県
    和歌山県 鳥取県 島根県 岡山県 広島県 山口県 徳島県 香川県 愛媛県 高知県 福岡県 佐賀県 長崎県 熊本県
    大分県 宮崎県 鹿児島県 沖縄県
    """
    )
)

STREETS_EN: Final = words(
    "street st road rd avenue ave boulevard blvd lane ln drive dr court ct place pl square sq terrace way crescent "
    "close parkway pkwy highway hwy gardens grove circle mews quay row walk"
)
